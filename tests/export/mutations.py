"""Run by test_mutated_files.py in a process of its own: opens and runs seeded mutations of the operators in a file.

python -P mutations.py FILE COUNT prints "refused N, ran M"; a crash ends it with a signal.
"""

import copy
import random
import sys
from collections import Counter

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from platon_compress.export.session import session_options

INTEGERS = (-(2**63), -(2**31), -1, 0, 1, 3, 7, 65, 255, 65536, 2**31 - 1, 2**31, 2**40, 2**63 - 1)
FLOATS = (0.0, -1.0, float("nan"), float("inf"), -float("inf"), 3e38, 1e-40)
TYPES = (np.float16, np.float64, np.int8, np.uint16, np.int32, np.int64, np.bool_)
BATCHES = ((1, 1), (2, 7), (2, 8), (1, 33), (0, 4), (2, 0))


def change_attribute(node, _, chance):
    attribute = chance.choice(node.attribute)
    name = attribute.name
    node.attribute.remove(attribute)
    if chance.random() < 0.9:
        value = chance.choice([chance.choice(INTEGERS), chance.choice(FLOATS), "x" * 70, [1, 2]])
        node.attribute.append(helper.make_attribute(name, value))


def change_array(node, arrays, chance):
    held = [name for name in node.input if name in arrays]
    if not held:
        return
    tensor = arrays[chance.choice(held)]
    array = numpy_helper.to_array(tensor).copy()
    kind = chance.randrange(6)
    if kind == 0:
        array = array.astype(chance.choice(TYPES))
    elif kind == 1:
        array = array.reshape(-1)[: max(0, array.size - chance.choice([1, array.size]))]
    elif kind == 2:
        array = np.concatenate([array.reshape(-1), array.reshape(-1)[:1]])
    elif kind == 3:
        array = array[None]
    elif kind == 4:
        array = np.zeros((), array.dtype)
    else:
        change_entry(array.reshape(-1), chance)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def change_entry(flat, chance):
    if not flat.size:
        return
    place = chance.randrange(flat.size)
    if flat.dtype.kind in "iu":
        limits = np.iinfo(flat.dtype)
        near = min(limits.max, max(limits.min, int(flat[place]) + chance.choice([-1, 1, 64])))
        flat[place] = chance.choice([limits.min, limits.max, 0, near])
    elif flat.dtype.kind == "f":
        flat[place] = chance.choice(FLOATS)


def change_edge(node, _, chance):
    edges = chance.choice([node.input, node.output])
    place = chance.randrange(len(edges))
    kind = chance.randrange(3)
    if kind == 0:
        del edges[place]
    elif kind == 1:
        edges[place] = ""
    else:
        node.input[chance.randrange(len(node.input))] = chance.choice(node.input)


def mutated(model, seed):
    chance = random.Random(seed)
    model = copy.deepcopy(model)
    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    ours = [node for node in model.graph.node if node.domain == "platon"]
    for _ in range(chance.choice([1, 1, 2])):
        chance.choice([change_attribute, change_array, change_array, change_edge])(
            chance.choice(ours), arrays, chance
        )
    return model.SerializeToString(), chance


def outcome(model, seed):
    content, chance = mutated(model, seed)
    options = session_options(threads=chance.choice([1, 2]))
    options.log_severity_level = 4
    outcome = "refused"
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        for sizes in chance.sample(BATCHES, 3):
            session.run(None, {value.name: np.ones(sizes, np.int64) for value in session.get_inputs()})
            outcome = "ran"
    except Exception:  # ONNX Runtime's own classes share no base but Exception
        return outcome
    return outcome


if __name__ == "__main__":
    given = onnx.load(sys.argv[1])
    counts = Counter(outcome(given, seed) for seed in range(int(sys.argv[2])))
    sys.stdout.write(f"refused {counts['refused']}, ran {counts['ran']}\n")
