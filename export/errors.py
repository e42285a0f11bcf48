"""What can go wrong with an exported model, said in one line."""


class ExportError(ValueError):
    """A model file that is missing, damaged or foreign, or input that does not fit it.

    The message names the file and the remedy.
    """
