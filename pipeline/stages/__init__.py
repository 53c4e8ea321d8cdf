"""The steps of a run, one file each, a verb each. No stage imports another; `pipeline/run.py` puts them in order."""
