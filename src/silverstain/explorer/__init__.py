"""The explorer: a page on which people look at a graph, and the server that opens it."""

from silverstain.explorer.document import page_document as page_document
from silverstain.explorer.pages import graph_html as graph_html
from silverstain.explorer.pages import notebook_html as notebook_html
