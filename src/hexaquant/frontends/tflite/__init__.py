"""TFLite files, read directly: FlatBuffer -> tensors and operators (model_file.py) -> ONNX (convert.py)."""
