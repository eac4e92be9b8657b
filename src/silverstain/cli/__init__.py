"""The command line: one thin module a verb, loaded when it is asked for."""

from silverstain.cli.main import main as main
from silverstain.cli.main import program as program
