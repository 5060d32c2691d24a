"""Graphs of nodes without a screen: read, set, checked, and run without a host or by one."""

from .graph import Graph as Graph
from .graph import load as load
