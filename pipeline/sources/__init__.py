"""Where articles come from, one file each, and how their text is made clean without being changed."""
