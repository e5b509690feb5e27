"""The model folder that `crcfp_jax.export` writes and `crcfp_jax.predict` loads.

Card, parameters, the compiled form and ONNX, and the proof that all forms agree.
"""
