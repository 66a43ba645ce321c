"""The forms that a pruned linear layer can take: CSR arrays, or a smaller dense layer."""

from platon_compress.formats.csr import CsrWeight

__all__ = ["CsrWeight"]
