"""The composing organism; its files are in the folder `organism`, and nothing here is run."""
