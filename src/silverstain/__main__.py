"""`python -m silverstain`, and so `torchrun -m silverstain`: the command line."""

from silverstain.cli import program

if __name__ == "__main__":
    program()
