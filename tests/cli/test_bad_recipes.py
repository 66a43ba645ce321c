"""What a newcomer gets wrong in a recipe, its data or its model: one line that names a cure, exit 2, no file left behind."""

import shlex

import pytest

# After `run good.yaml -o x --set`, one a line.
SETTINGS = """
prune.sparsity=0
prune.sparsity=1
prune.sparsity=1e-12
prune.sparsity=0.9999999999
prune.sparsity=.nan
prune.sparsity=.inf
prune.sparsity=90%
prune.sparsity=true
prune.sparsity=null
prune.sparsity=[0.9]
prune.family=[]
prune.family=[0.5,0.7]
prune.family=[0.95,0.9]
prune.family=[0.9,many]
budget={}
budget.max_latency=10
budget.max_latency=0ms
budget.max_size=5mb
budget.min_speedup=0
budget.max_drop=-1
budget.max_time=1s
prune.beta1=1
prune.beta2=-0.1
prune.mask_interval=0
prune.mask_interval=2.5
prune.mask_interval=100000000
prune.initial_warmup=1
prune.final_warmup=0.95
prune.freeze=0.9
prune.rewind_to=0.5
prune.quantize=int4
prune.quantize=int8
prune.masks_from=other
prune.masks_from=[a]
prune.start_sparsity=-1
prune.start_sparsity=half
prune.criterion=luck
prune.scope=all
prune.granularity=3:4
prune.granularity=2:4
prune.max_layer_sparsity=0.1
prune.bounds=0.9
prune.bounds={all: 0.9}
prune.bounds={all: [0.9]}
prune.bounds={all: [0, two]}
prune.bounds={all: [0, 2]}
prune.bounds={all: [0, .nan]}
prune.group_multiple=0
prune.schedule=linear
prune.freeze_steps=3
prune.sparsty=0.9
prune.targets=[1]
prune.per_millisecond=7
train.epochs=0
train.epochs=-1
train.epochs=1e18
train.epochs=.inf
train.epochs=four
train.average=0.1
train.average=1
train.average=ema
train.batch_size=0
train.batch_size=1e9
train.batch_size=99999999999999999999
train.learning_rate=0
train.learning_rate=-1
train.learning_rate=.nan
train.seed=-1
train.seed=18446744073709551616
train.seed=1.5
train.seed=4294967296
train.evaluations=0
train.warmup_ratio=1
train.bf16=maybe
train.gradient_accumulation_steps=0
train.max_grad_norm=0
train.weight_decay=-1
data.max_length=1
data.max_length=10000000
data.train_rows=0
data.validation_rows=-5
data.text=
data.lable=x
data.dataset=glue
data.problem=many
data.negative=text
data.group=text
data.document_stride=200
data.label_columns=[a, b]
data.test=nowhere.csv
data.test_split=test
data.train=null
data.train={tmp}/nowhere.csv
data.validation=nowhere.csv
plan.tokens=0
plan.threads=100000
plan.threads=0
plan.device=tpu
plan.force=fast
plan.batch=0
plan.cost_table=nowhere.json
plan.batch=16385
export.opset=11
export.opset=99
export.exporter=onnx
verify.atol=0
verify.atol=-1
verify.atol=.inf
verify.examples=3
verify.examples=1e12
bench.batch=[]
bench.batch=[0]
bench.batch=[1, -1]
bench.batch=1000000000000
bench.runs=1
bench.runs=1e9
bench.tokens=[0]
bench.threads=4096
bench.device=gpu
bake.values=int8
distill.temperature=0
distill.weight=2
distill.labels=false
distill.hidden=-1
dense={tmp}/nowhere
model.task=translation
model.name=
model.name=null
model.config={model_type: vit}
model=bert
model.config.hidden_size=1e18
model.config={model_type: bert, layer_norm_eps: .nan}
model.trust_remote_code=true
kind=jump
nonsense=1
prune.sparsity.x=1
prune.sparsity
=3
prune=0.9
prune.sparsity={a: 1, a: 2}
prune.sparsity=[[[
bench.batch=1,1,1,1,1,1,1,1,1
"""
# What only reading the data or the model can tell: after `run good.yaml -o x --dry-run`.
READ = """
--train head.csv
--train empty.csv
--train one.csv
--train ragged.csv
--train binary.csv
--train table.xlsx
--train list.json
--train torn.jsonl
--train torn.npz
--train torn.parquet
--validation new.csv
--set data.max_length=1000
--set bench.tokens=1000
--set plan.cost_table=list.json
--set plan.cost_table=train.csv
--set dense=other
--set dense=bert
--set data.validation_rows=5
--set model.name=null --set 'model.config={model_type: nope}'
--set model.name=null --set 'model.config={model_type: bert, hidden_sze: 64}'
--set model.name=null --set 'model.config={model_type: bert, hidden_size: 7}'
--set model.name=null --set 'model.config={model_type: bert, hidden_size: 120000, num_hidden_layers: 9}'
--set model.name=null --set 'model.config={model_type: bert, hidden_act: none}'
--text sentence
--label klass
--text-pair second
--set model.name=./nowhere
--set model.name=damaged
--set 'prune.targets=[nothing]'
--set prune.granularity=head --set prune.sparsity=0.99
--set prune.granularity=neuron --set prune.group_multiple=4096
--set 'model.freeze=[nothing]'
--set distill.teacher=./nowhere
--set prune.mask_interval=1000
--set prune.sparsity=null --set prune.masks_from=./nowhere
--set prune.sparsity=null --set prune.masks_from=bert
--set prune.sparsity=null --set prune.masks_from=train.csv
--set prune.sparsity=null --set prune.masks_from=other
--set prune.sparsity=null
--set prune.start_sparsity=0.95
--set 'prune.bounds={nothing: [0, 0.5]}'
--set 'prune.bounds={"re:.*": [0, 0.5]}'
--set 'prune.bounds={"re:(": [0, 0.5]}'
--set 'prune.bounds={"re:.*": [0.9, 0.5]}'
--set 'prune.bounds={"re:.*": [0, 0.95]}' --set prune.granularity=4x1
--set prune.start_sparsity=0.5 --set prune.schedule=one_shot
--set model.name=weights
--set 'prune.targets=['"'"'re:('"'"']'
"""


@pytest.mark.parametrize("override", SETTINGS.strip().splitlines())
def test_a_wrong_setting(refused, override):
    refused(["run", "good.yaml", "-o", "x", "--set", override])


@pytest.mark.parametrize("flags", READ.strip().splitlines())
def test_wrong_data_or_model(refused, flags):
    refused(["run", "good.yaml", "-o", "x", "--dry-run", *shlex.split(flags)])


@pytest.mark.parametrize("flags", READ.strip().splitlines())
def test_the_same_without_a_dry_run_leaves_no_folder(refused, flags):
    refused(["run", "good.yaml", "-o", "x", *shlex.split(flags)], said=None)
