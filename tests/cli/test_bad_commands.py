"""What a newcomer gets wrong on the command line: one line that names a cure, exit 2, and no file left behind."""

import os
import shlex

import pytest

# Whole command lines.
COMMANDS = """
run
run good.yaml
run -o x
run nowhere.yaml -o x
run text -o x
run '' -o x
run good.yaml -o ''
run good.yaml -o
run good.yaml extra -o x
run good.yaml -o x -o y
run good.yaml -o x --output x
run good.yaml -o x --json --json
run good.yaml -o x --jsn
run good.yaml -o train.csv
run good.yaml -o dangling
run good.yaml -o dangling/x
run good.yaml -o loop
run good.yaml -o train.csv/x
run good.yaml -o other
run good.yaml -o torn
run good.yaml -o odd
run good.yaml -o /proc/x/y
run empty.yaml -o x
run list.yaml -o x
run word.yaml -o x
run tab.yaml -o x
run twice.yaml -o x
run inner-twice.yaml -o x
run bomb.yaml -o x
run loop.yaml -o x
run large.yaml -o x
run deep.yaml -o x
run code.yaml -o x
run two.yaml -o x
run typo.yaml -o x
run stranger.yaml -o x
run no-prune.yaml -o x
run number.yaml -o x
run latin.yaml -o x
run folder.yaml -o x
run good.yaml -o x --require speedup=2
run good.yaml -o x --require 'fast>=1'
run good.yaml -o x --require ''
run good.yaml -o x --max-latency 10
run good.yaml -o x --preset quick
run good.yaml -o x --preset fast --set prune=null
run good.yaml -o x --preset fast --set prune=5
run list.yaml -o x --preset fast
run good.yaml -o x --max-size 10m
run good.yaml -o x --min-speedup 0.5
run good.yaml -o x --max-drop -1
run good.yaml -o x --max-latency ''
run good.yaml -o x --require 'speedup>=nan'
run good.yaml -o x --train nowhere.csv
run good.yaml -o x --train ''
run good.yaml -o x --test nowhere.csv
run good.yaml -o x --negative text
run good.yaml -o x --group text
run text-classification -o x --test train.csv
run text-classification -o x --train train.csv
run digits -o x --validation dev.csv
prune
prune nowhere.yaml -o x
prune good.yaml -o other
prune typo.yaml -o x
demo -o train.csv
demo -o x --set train.epochs=1e9
demo x
run good.yaml -o x --set prune.sparsity=0.5 --set prune.sparsity=0.6
run good.yaml -o x --set data.train=train.csv --train train.csv
calibrate -o list.json
bake -o nowhere
bake -o other
bake
bake -o begun extra
plan -o nowhere
plan -o other
plan
plan -o begun extra
convert -o nowhere
convert -o other
convert
convert -o begun extra
export -o nowhere
export -o other
export
export -o begun extra
verify -o nowhere
verify -o other
verify
verify -o begun extra
report -o nowhere
report -o other
report
report -o begun extra
bake -o torn
plan -o odd
verify -o bomb
export -o trusting
report -o x --require 'luck>1'
report -o nowhere --json
verify -o train.csv
compress
compress bert
compress '' -o x
compress bert -o train.csv
compress bert -o x --task nonsense
compress bert -o x --task ''
compress bert -o x --batch 1000000000000
compress bert -o x --batch one
compress bert -o x --batch 1,1
compress bert -o x --batch ''
compress bert -o x --batch 1,,2
compress bert -o x --batch 0
compress bert -o x --tokens 0
compress bert -o x --tokens many
compress bert -o x --tokens 99999999999999999999
compress bert -o x --threads 100000
compress bert -o x --threads 0
compress bert -o x --runs 0
compress bert -o x --atol nan
compress bert -o x --atol -1
compress bert -o x --atol inf
compress bert -o x --device tpu
bench model -o nowhere --device tpu
compress bert -o x --force fast
compress bert -o x --opset 9
compress bert -o x --exporter magic
compress bert -o x --data nowhere.csv
compress bert -o x --data ''
compress bert -o x --text sentence
compress bert -o x --label y
compress bert -o x --calibrate --no-calibrate
compress bert -o x --task fill-mask --data dev.csv
compress damaged -o x
compress empty -o x
compress ./nowhere -o x
compress bert -o x --require 'speedup>two'
compress bert -o other --no-calibrate
estimate
estimate bert --sparsity 0
estimate bert --max-latency 10
estimate bert --max-latency 0ms
estimate bert --max-size 5mb
estimate bert --min-speedup 0.5
estimate bert --min-speedup 3x
estimate bert --max-latency 1ms --sparsity 0.9
estimate bert --sparsity 1
estimate bert --sparsity 90
estimate bert --sparsity nan
estimate bert --sparsity a,b
estimate bert --sparsity 0.9,0.9
estimate bert --tokens 0
estimate bert --tokens 1e3
estimate bert --batch 10000000
estimate bert --threads -2
estimate bert --runs 1
estimate bert --batch 10000 --tokens 1000
estimate damaged
estimate ./nowhere
estimate bert --task singing
estimate bert --task image-classification
estimate bert --tokens 100
estimate good.yaml
calibrate
calibrate -o table.txt
calibrate -o train.csv/t.json
calibrate -o t.json --shapes 768
calibrate -o t.json --shapes 0x768
calibrate -o t.json --shapes 768x9999999999
calibrate -o t.json --shapes 8x8,8x8
calibrate -o t.json --densities 0
calibrate -o t.json --densities 2
calibrate -o t.json --densities nan
calibrate -o t.json --tokens -1
calibrate -o t.json --threads 100000
calibrate -o t.json --threads 1,
bench model
bench model -o nowhere
bench model -o other
bench model -o torn
bench model -o begun
bench model -o begun --batch x
bench model -o begun --device tpu
bench model -o begun --batch 16384 --tokens 131072
bench model -o begun --runs 2
bench kernel
bench kernel -o train.csv
bench kernel -o k --models gpt
bench kernel -o k --models ''
bench kernel -o k --models list.json
bench kernel -o k --densities 0
bench kernel -o k --threads 5000
bench kernel -o k --blocks 3
bench kernel -o k --pause -1
bench kernel -o k --pause nan
bench kernel -o k --runs 1000000000
bench kernl
bench training
init
init ranking
init text-classification -o good.yaml
init text-classification -o x.txt
init text-classification -o train.csv/r.yaml
init text-classification image-classification
schema extra
schema --html
nonsense
--bogus
run-all
"""
# What a foreign checkpoint and its data must be, found before anything is written.
FOREIGN = """
compress bert -o x --no-calibrate
compress base -o x --no-calibrate
compress weights -o x --no-calibrate
compress sparse -o x --no-calibrate --data head.csv
compress sparse -o x --no-calibrate --data one.csv
compress sparse -o x --no-calibrate --dense ./nowhere
compress sparse -o x --no-calibrate --dense three
compress sparse -o x --no-calibrate --tokens 1000
compress sparse -o x --no-calibrate --data dev.csv --text sentence
compress sparse -o x --no-calibrate --data dev.csv --label klass
compress sparse -o x --no-calibrate --data new.csv
compress sparse -o x --no-calibrate --data binary.csv
compress sparse -o x --task image-classification
"""
# What cannot be written into a line.
ODD = [
    ["run", "good.yaml", "-o", "x" * 300],
    ["run", "good.yaml", "-o", "a\0b"],
    ["calibrate", "-o", "t.json", "--shapes", ",".join(f"{n}x8" for n in range(1, 99))],
    ["run", "good.yaml", "-o", "x", "--set", "bench.batch=[" + "1, " * 200 + "1]"],
    ["compress", "bert", "-o", "x", "--batch", "9" * 5000],
]


@pytest.mark.parametrize("line", COMMANDS.strip().splitlines())
def test_a_wrong_command(refused, line):
    refused(shlex.split(line))


@pytest.mark.parametrize("arguments", ODD)
def test_an_odd_command(refused, arguments):
    refused(arguments)


@pytest.mark.parametrize("line", FOREIGN.strip().splitlines())
def test_a_checkpoint_that_cannot_be_compressed(refused, line):
    refused(shlex.split(line), said=None)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere"
)
def test_a_place_without_permission(house, refused):
    closed = house / "closed"
    closed.mkdir(mode=0o500)
    try:
        refused(["run", "good.yaml", "-o", "closed/x"])
    finally:
        closed.rmdir()
