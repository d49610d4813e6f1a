"""`python -m minimistral`: the same as the `minimistral` command."""

from minimistral.cli import main

if __name__ == "__main__":
    main()
