"""Reads the data people have: tables, CoNLL files, SQuAD files, pairs, image folders, `datasets` names."""
