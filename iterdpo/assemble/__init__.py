"""The one place that turns configuration into objects, and so knows every room."""

from iterdpo.assemble.assembly import Assembly, assemble, library_versions, make_tracker
from iterdpo.assemble.engines import make_engine
from iterdpo.assemble.judges import make_judge
from iterdpo.assemble.prompts import make_prompts
from iterdpo.assemble.recipe import make_recipe

__all__ = [
    "Assembly",
    "assemble",
    "library_versions",
    "make_engine",
    "make_judge",
    "make_prompts",
    "make_recipe",
    "make_tracker",
]
