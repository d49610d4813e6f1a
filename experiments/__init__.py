"""The longer runs whose results the chapters show: `python -m experiments` lists them, with a name it repeats one."""
