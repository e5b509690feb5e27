"""Any traced function as an ONNX graph, operation by operation; knows no network."""
