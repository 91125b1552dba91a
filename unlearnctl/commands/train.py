"""Unlearn: train, measure before and after, save what changed.

usage: unlearnctl train [group=option ...] [key=value ...] [-m] [--cfg job [--resolve]] [--config-dir DIR]
       unlearnctl train --resume SWEEP_DIR [key=value ...]

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
  unlearnctl train --resume outputs/train/sweep/RUN               the members of a sweep that are not done
  unlearnctl train data=tinyworld_hazard_toxic objective=composite       two functions in one run
  unlearnctl train trainer=meta trainer.meta.mode=search          trade-offs learned in short episodes first
  unlearnctl train launch=cpu launch.num_processes=2              the same numbers on two processes (gloo)
  unlearnctl train model=llama3_8b data=wmdp_bio launch=multi_gpu launch.num_processes=8
  unlearnctl train model=llama3_8b data=wmdp_bio launch.dry_run=true     the plan, without weights
  unlearnctl train --config-dir conf plugins=[mine] objective=x   configs may name classes of the package `mine`
  unlearnctl train resume=outputs/train/NAME/RUN                  resume a run that was killed or interrupted
  unlearnctl train --cfg job --resolve                            the config, nothing else
"""

from __future__ import annotations

from unlearnctl.unlearning.train import train

SEVERAL_PROCESSES = True
__all__ = ["train"]
