"""The names of the files in an exported folder. The words between the dots say what a file is."""

UTTERANCE = ("model.onnx", "model.int8.onnx", "model.tflite", "model.int8.tflite")
STREAM = ("model.stream.onnx", "model.stream.int8.onnx")
MICRO = "model.mcu.tflite"
BATCH = ("model.batch.onnx", "model.batch.int8.onnx")
AUDIO = ("model.audio.onnx", "model.audio.int8.onnx", "model.audio.tflite", "model.audio.int8.tflite")

MODEL_FILES = (*UTTERANCE, *STREAM, MICRO, *BATCH, *AUDIO)


def is_int8(name: str) -> bool:
    """Whether a file computes in int8."""
    return name == MICRO or "int8" in name.split(".")


def float_twin(name: str) -> str:
    """The float32 file that an int8 file is to be compared with, in the same runtime; its own name if it is one.

    Example:
        >>> float_twin("model.stream.int8.onnx")
        'model.stream.onnx'
    """
    return ".".join(word for word in name.split(".") if word != "int8")
