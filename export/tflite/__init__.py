"""TFLite files: graphs of a whole utterance and of the front end; int8; how they are run."""
