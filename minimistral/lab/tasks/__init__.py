"""One exercise a file: t05_1.py holds 05.1 as `EXERCISE`."""
