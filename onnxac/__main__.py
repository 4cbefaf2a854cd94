"""`python -m onnxac` is the command `onnxac`."""

from onnxac.cli import main

# Worker processes import this module again, under another name.
if __name__ == "__main__":
    main()
