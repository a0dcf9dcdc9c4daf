"""iterdpo: self-rewarding, iterative DPO research with a lineage that can be proved."""

__version__ = "0.1.0"
