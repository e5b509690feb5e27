"""XLA's flags for tests, which compile much and compute little.

With them a step of the tests compiles in 3 s, with the newer emitters of fusions in 6 s, at level 1 in 10 s; it runs in
0.08 s.
"""

FLAGS = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false"
)
