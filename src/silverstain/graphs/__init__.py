"""The attribution graph as a value: influence, scores, pruning, supernodes, files."""

from silverstain.graphs.circuit import Circuit as Circuit
from silverstain.graphs.circuit import CircuitNode as CircuitNode
from silverstain.graphs.circuit import circuit_of as circuit_of
from silverstain.graphs.comparison import Comparison as Comparison
from silverstain.graphs.comparison import compare as compare
from silverstain.graphs.export import graph_json as graph_json
from silverstain.graphs.export import write_graph_json as write_graph_json
from silverstain.graphs.figure import Figure as Figure
from silverstain.graphs.figure import figure as figure
from silverstain.graphs.graph import Graph as Graph
from silverstain.graphs.influence import PathLengths as PathLengths
from silverstain.graphs.influence import cumulative_influence as cumulative_influence
from silverstain.graphs.influence import edge_shares as edge_shares
from silverstain.graphs.influence import influence as influence
from silverstain.graphs.influence import path_lengths as path_lengths
from silverstain.graphs.influence import shares_of_rows as shares_of_rows
from silverstain.graphs.influence import target_weights as target_weights
from silverstain.graphs.kinds import NODE_KINDS as NODE_KINDS
from silverstain.graphs.node_order import NodeLayout as NodeLayout
from silverstain.graphs.node_order import node_table as node_table
from silverstain.graphs.nodes import NodeTable as NodeTable
from silverstain.graphs.opening import is_own_file as is_own_file
from silverstain.graphs.opening import open_graph as open_graph
from silverstain.graphs.opening import open_with_story as open_with_story
from silverstain.graphs.pruning import prune as prune
from silverstain.graphs.pruning import removed_as_error as removed_as_error
from silverstain.graphs.scores import Scores as Scores
from silverstain.graphs.scores import exactness as exactness
from silverstain.graphs.scores import scores as scores
from silverstain.graphs.story import Story as Story
from silverstain.graphs.story import StoryGroup as StoryGroup
from silverstain.graphs.story import story_beside as story_beside
from silverstain.graphs.story import story_groups as story_groups
from silverstain.graphs.summary import counts_of as counts_of
from silverstain.graphs.summary import groups_of as groups_of
from silverstain.graphs.supernodes import Group as Group
from silverstain.graphs.supernodes import GroupGraph as GroupGraph
from silverstain.graphs.supernodes import collapse as collapse
from silverstain.graphs.supernodes import group_places as group_places
from silverstain.graphs.supernodes import group_shares as group_shares
from silverstain.graphs.trust import Trust as Trust
from silverstain.graphs.trust import trust_in as trust_in
from silverstain.graphs.ways import CircuitEdge as CircuitEdge

load_graph, save_graph = Graph.load, Graph.save
