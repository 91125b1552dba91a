"""A corpus of mistakes: `*.yaml`, each entry an id, a command line, what to lay out first, and the line expected.

    - id: no-such-objective
      args: [train, objective=rmu_cosin]
      line: "objective=rmu_cosin: unknown (did you mean 'rmu_cosine'?). Allowed: ..."

`...` at the end of a line leaves out a list of everything that exists. `make` lays out files: see `bench.py`.
"""
