"""What `unlearnctl --help` and `unlearnctl VERB --help` say."""

from __future__ import annotations

VERBS = {
    "train": "unlearn: train, measure before and after, save what changed",
    "eval": "measure a model, or the result of a run",
    "probe": "fit a linear probe per layer: where can forget text be told from retain text?",
    "repair": "give back what an unlearning update damaged, without training",
    "attack": "try to bring back what was forgotten, and measure how much comes",
    "export": "merge a run's checkpoint into a whole Hugging Face folder",
    "prefetch": "fetch what a training config needs, for machines without a network",
    "report": "remake the tables, plots and HTML of runs or of a sweep",
    "track": "send the metrics of runs to their tracker, where it was down while they ran",
    "ls": "list config groups and their options",
    "doctor": "check Python, torch, GPU, hub access and disk",
    "tinyworld": "remake the embedded model: tinyworld build to=DIR",
    "reproduce": "make a table of the field: run what is missing, print it in every format",
    "completion": "print the shell completion script: completion bash|zsh|fish",
}

HELP = """\
usage: unlearnctl VERB [key=value ...]

{verbs}

examples:
  unlearnctl train                                    the embedded demo: unlearn the tiny world's hazards
  unlearnctl train objective=npo seed=1
  unlearnctl train -m objective.layer=3,4,5 objective.alpha=1,10
  unlearnctl train launch=multi_gpu launch.num_processes=8
  unlearnctl train model=llama3_8b data=wmdp_bio eval=[wmdp,mmlu] launch.dry_run=true
  unlearnctl eval outputs/train/NAME/RUN              measure a run's result
  unlearnctl eval model=local model.path=DIR eval=[wmdp,mmlu]
  unlearnctl VERB --help

  --version  print the version        --debug  full traceback on errors
"""

VERB_HELP = {
    "train": """\
usage: unlearnctl train [group=option ...] [key=value ...] [-m] [--cfg job [--resolve]] [--config-dir DIR]
       unlearnctl train --resume SWEEP_DIR [key=value ...]

{summary}

groups: model= data= objective= objective/retain= objective/token_weights=
        trainer= eval=[a,b] tracker= launch= experiment= sweep=
        (`unlearnctl ls GROUP` lists the options)

examples:
  unlearnctl train
  unlearnctl train objective=rmu objective.layer=4 trainer.steps=50 seed=1
  unlearnctl train objective=npo objective/retain=kl
  unlearnctl train data=local data.forget.path=bad.jsonl data.retain.path=good.txt model=local model.path=DIR
  unlearnctl train -m objective=rmu,rmu_cosine seed=0,1,2        a sweep: every combination, one summary
  unlearnctl train -m objective.alpha=1,10,40 hydra/launcher=side_by_side   the same at once, on shared frozen blocks
  unlearnctl train -m sweep=rmu_layers                            a ready-made one; `unlearnctl ls sweep`
  unlearnctl train --resume outputs/train/sweep/RUN               what of a sweep is not done: cut, failed, planned
  unlearnctl train data=tinyworld_hazard_toxic objective=composite       two functions in one run
  unlearnctl train trainer=meta trainer.meta.mode=search          trade-offs learned in short episodes first
  unlearnctl train launch=cpu launch.num_processes=2              the same numbers on two processes (gloo)
  unlearnctl train model=llama3_8b data=wmdp_bio launch=multi_gpu launch.num_processes=8
  unlearnctl train model=llama3_8b data=wmdp_bio launch.dry_run=true     the plan, without weights
  unlearnctl train --config-dir conf plugins=[mine] objective=x   configs may name classes of the package `mine`
  unlearnctl train resume=outputs/train/NAME/RUN                  go on with a run that was killed or interrupted
  unlearnctl train --cfg job --resolve                            the config, nothing else
""",
    "eval": """\
usage: unlearnctl eval [RUN | model=NAME] [eval=[a,b]] [key=value ...]

{summary}

Of a run: its model with what it changed, and its suites unless others are named. run= names the new run.

examples:
  unlearnctl eval
  unlearnctl eval outputs/train/NAME/RUN
  unlearnctl eval outputs/train/NAME/RUN eval=[wmdp,mmlu]
  unlearnctl eval model=local model.path=DIR eval=[wmdp,mmlu]
  unlearnctl eval launch=cpu launch.num_processes=2               the questions shared out
""",
    "probe": """\
usage: unlearnctl probe [model=NAME] [data=NAME] [layers=[..]] [pool=mean|before] [key=value ...]

{summary}

Held-out accuracy per layer beside that of the same probe on shuffled labels; directions for
objective=probe_directions in one safetensors file.

examples:
  unlearnctl probe
  unlearnctl probe pool=before
  unlearnctl probe data=local data.forget.path=paradetox.tsv data.forget.field=toxic \\
      data.retain.path=paradetox.tsv data.retain.field=neutral1 model=local model.path=DIR
""",
    "repair": """\
usage: unlearnctl repair RUN [repair=sage|task_arithmetic] [strength=S] [key=value ...]
       unlearnctl repair model=local model.path=BASE unlearned=DIR data=... eval=[a,b]

{summary}

Learns where retained text lives at the input of every changed matrix, shrinks the update there, and picks the
strength by forgetting and retention on the validation items. The result is a checkpoint like any other.

examples:
  unlearnctl repair outputs/train/NAME/RUN
  unlearnctl repair outputs/train/NAME/RUN repair=task_arithmetic
  unlearnctl repair outputs/train/NAME/RUN repair.energy=0.95 strength=30
""",
    "attack": """\
usage: unlearnctl attack RUN [attack=[a,b]] [eval=[a,b]] [key=value ...]
       unlearnctl attack model=local model.path=DIR [unlearned=DIR] ...

{summary}

Each attack tries variants; the suites in eval score each of them, on facts that no attack's text states. One table,
with the share of what was forgotten that came back, and the worst case of each attack. On another model than the tiny
world, suites and the texts to relearn from are the run's own unless others are named.

groups: attack=[relearn,quantize,fewshot,prefix,latent] eval=[a,b] model=

examples:
  unlearnctl attack outputs/train/NAME/RUN
  unlearnctl attack outputs/train/NAME/RUN attack=[relearn] attack.relearn.lrs=[1e-4,1e-3]
  unlearnctl attack model=local model.path=BASE unlearned=DIR attack=[quantize,fewshot] eval=[wmdp]
  unlearnctl attack model=local model.path=DIR attack=[quantize]     any model; without its base, no recovered share
""",
    "export": """\
usage: unlearnctl export RUN to=DIR

{summary}

example:
  unlearnctl export outputs/train/NAME/RUN to=my-model
""",
    "prefetch": """\
usage: unlearnctl prefetch [what train takes] [to=DIR]

{summary}

Model (safetensors, config, tokenizer), data, task data and classifier of the config, or of every member of a sweep, go
into the hub's cache, or below DIR. A manifest lists repositories, commits, files, sizes and SHA-256.

examples:
  unlearnctl prefetch model=llama3_8b data=wmdp_bio eval=[wmdp,mmlu]
  unlearnctl prefetch model=zephyr_7b,mistral_7b data=wmdp_bio_cyber eval=[wmdp] to=/scratch/hub
  HF_HOME=/scratch/hub HF_HUB_OFFLINE=1 unlearnctl train model=zephyr_7b data=wmdp_bio_cyber eval=[wmdp]
""",
    "report": """\
usage: unlearnctl report RUN [RUN ...] [to=FILE.html]

{summary}

One run directory: its report.html and PNGs. Several, a sweep's, or any folder of runs and probes: summary.md,
summary.csv, plots, and one report.html with everything in it, which opens without a network: a table to sort and
filter, the trade-off of any two scores, curves, subjects, replies before and after, probes, token weights, settings
that differ. They go into the directory, or into the current one if there are several. With to=, that page alone is
written.

examples:
  unlearnctl report outputs/train/NAME/RUN
  unlearnctl report outputs/train/sweep/RUN
  unlearnctl report outputs/train outputs/probe to=all.html
""",
    "track": """\
usage: unlearnctl track RUN [RUN ...] [tracker=NAME]

{summary}

Every run keeps its rows in metrics.jsonl; a tracker that fails is said in one line and the run goes on without.
The rows go to the tracker of the run's config, or to another, as a run of their own.

examples:
  unlearnctl track outputs/train/NAME/RUN
  unlearnctl track outputs/train/NAME/RUN tracker=tensorboard
""",
    "ls": """\
usage: unlearnctl ls [GROUP] [--config-dir DIR]

{summary}

examples:
  unlearnctl ls
  unlearnctl ls objective
""",
    "doctor": "usage: unlearnctl doctor\n\n{summary}\n\nexample:\n  unlearnctl doctor\n",
    "tinyworld": """\
usage: unlearnctl tinyworld build to=DIR [arch=llama|mistral|qwen2|olmo3] [seed=0] [twin=true]
       unlearnctl tinyworld data

{summary}

`build` trains the embedded model anew (about three minutes on two cores);
`data` prints the folder with the world's corpora, questions and tasks.

examples:
  unlearnctl tinyworld build to=my-tinyworld seed=1
  unlearnctl tinyworld build to=my-mistral arch=mistral
""",
    "reproduce": """\
usage: unlearnctl reproduce TABLE [scale=tiny|paper] [seeds=0,1,2] [jobs=N] [output_dir=DIR] [to=DIR]
                            [--plan] [--from DIR] [--config-dir DIR]

{summary}

Runs that are there are not made again, so a command that was cut goes on where it stopped. `jobs` runs at once, by
default one for each GPU or core. Markdown, LaTeX, CSV, HTML and JSON; published values stand beside ours where we
know them.

`unlearnctl ls table` lists them.

examples:
  unlearnctl reproduce knowledge --plan                 what would be run, and what it takes
  unlearnctl reproduce knowledge
  unlearnctl reproduce sage seeds=0 to=docs/tables
  unlearnctl reproduce knowledge --from outputs/reproduce    the table alone, from the runs that exist
  unlearnctl reproduce knowledge scale=paper --plan
  unlearnctl reproduce mine --config-dir my-conf             my-conf/table/mine.yaml, and my-conf/objective/*.yaml
""",
    "completion": """\
usage: unlearnctl completion bash|zsh|fish

{summary}

examples:
  eval "$(unlearnctl completion bash)"                              this shell
  unlearnctl completion fish > ~/.config/fish/completions/unlearnctl.fish
""",
}
