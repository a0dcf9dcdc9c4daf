"""What a run holds, cell by cell: open it in an editor that knows ``# %%``, or run it as it is.

    python docs/walk.py

It makes two iterations of the lab with few prompts: half a minute on two cores, and no time at all
where the store has them already.
"""

# %% A run is made with the overrides of the command line.
import iterdpo

run = iterdpo.run(["experiment=smoke", "iterations=2", "tracking=none"])
print(run)

# %% Its models: M0, and what each iteration trained. A rule names the best one (docs/metrics.md).
print(run.policies[["model", "parent", "fingerprint", "best"]].to_string(index=False))

# %% What was measured of each, on prompts that never enter training.
print(run.evaluations[["model", "quality.mean", "response_tokens"]].to_string(index=False))

# %% The candidates of an iteration, and what the judge said of them.
scored = run.candidates.merge(
    run.judgments[["candidate_id", "score"]], left_on="id", right_on="candidate_id"
)
print(scored.groupby(["iteration", "model"])["score"].describe()[["count", "mean", "std"]])

# %% The preference pairs: the closest calls of the judge are where labels are most often wrong.
close = run.pairs.sort_values("margin").head(3)
print(close[["iteration", "prompt", "chosen", "rejected", "margin"]].to_string(index=False))

# %% The page that a person looks at, and the same run opened again later.
print(run.report())
again = iterdpo.load(run.directory)
assert again.pairs.equals(run.pairs)
