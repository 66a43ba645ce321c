"""Our model, in floats and in 8 bits, against PyTorch, OpenVINO and DeepSparse, each in a process of its own.

    python benchmarks/peers.py
    python benchmarks/peers.py --models bert-base --all-cells --peers deepsparse --blocks 0 -o benchmarks/results

The models are those of targets.py. An engine is looked for in this environment and in .venv-NAME of the current folder;
one that is not there is a line of the result; OpenVINO's 8-bit form needs nncf beside openvino. Ways of measuring:
platon_compress/measure/peers/compare.py; format: result.py beside it.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

from study import add_output, keep, names, run_study, study_parser, watched
from targets import add_targets, cell_stem, chosen_targets, export_int8, export_random, random_stem, rounds

from platon_compress.measure.peers.compare import run_peer_benchmark
from platon_compress.measure.peers.result import PEERS, PeerConfig

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__)
    add_output(parser, None)
    add_targets(parser, models="bert-base", sparsity="0.9")
    parser.add_argument("--peers", type=names, default=PEERS, help=f"default {','.join(PEERS)}")
    parser.add_argument("--all-cells", action="store_true", help="every size of a model, not only its first")
    parser.add_argument(
        "--blocks", type=int, default=3, help="isolated and concurrent blocks per engine; 0: only in turn"
    )
    return run_study(_measure, parser, arguments)


def _measure(options: argparse.Namespace) -> Iterator[str]:
    """A result and its lines per cell."""
    for name, target, sparsity in chosen_targets(options):
        stem = random_stem(name, sparsity)
        folder = export_random(target, sparsity, options.onnx / stem, threads=options.threads, pruned=True)
        export_int8(folder)
        cells = list(target.cells)
        for batch, tokens in cells if options.all_cells else cells[:1]:
            config = PeerConfig(
                batch=(batch,),
                tokens=(tokens or 1,),
                threads=options.threads,
                runs=rounds(options.runs, batch, tokens),
                blocks=options.blocks,
                peers=options.peers,
            )
            with watched(f"{stem}, {cell_stem(batch, tokens)}") as progress:
                compared = run_peer_benchmark(folder, config, progress=progress)
            yield from (f"{target.title}, {sparsity:.0%}: {line}" for line in compared.lines())
            label = "-".join([stem, "peers", cell_stem(batch, tokens), *config.peers])
            yield keep(options, compared.to_dict(), name=label, title=target.title, sparsity=sparsity)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
