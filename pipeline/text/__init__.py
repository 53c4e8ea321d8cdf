"""How a text falls apart: lines, blocks, sentences, atoms, and how atoms are packed into chunks.

Pure functions of a text: no stage, no model, no files. All positions count characters (Unicode code points) from 0 and
all stretches are half-open, so that `text[start:end]` is always the thing itself.
"""
