"""ONNX files: graphs of a whole utterance, of a step of a stream and of the front end; int8; how they are run."""
