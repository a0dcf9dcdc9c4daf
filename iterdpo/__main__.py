"""``python -m iterdpo``: the same as the command ``iterdpo``."""

from iterdpo.cli.main import main

if __name__ == "__main__":
    main()
