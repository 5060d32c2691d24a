"""Weight files: found by name, read without running any code, recognised by their keys, built and saved."""

from .boundary import building as building
from .boundary import naming as naming
from .entry import read_tensors as read_tensors
from .find import SHIPPED as SHIPPED
from .find import SUFFIXES as SUFFIXES
from .find import folders as folders
from .find import installed as installed
from .find import is_weight_file as is_weight_file
from .find import locate as locate
from .find import shipped as shipped
from .kinds import KINDS as KINDS
from .kinds import Kind as Kind
from .kinds import add_kind as add_kind
from .listing import Listing as Listing
from .listing import State as State
from .load import Weights as Weights
from .load import describe as describe
from .load import fill as fill
from .load import fits as fits
from .load import load as load
from .load import network_of as network_of
from .load import save as save
from .read import check_plain as check_plain
from .read import list_file as list_file
from .read import read_state as read_state
from .safetensors_file import read_metadata as read_metadata
