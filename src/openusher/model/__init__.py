"""The nouns of the field, as frozen values without I/O. They import nothing of ours but the error tree."""
