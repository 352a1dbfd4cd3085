# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---
# %% tags=["parameters"]
FOLDER = "reports/comparison"
# %%
from analysis import compare_page, shifts

report = compare_page.open_page(FOLDER)
# %%
report.section("summary")
# %% [markdown]
# ## Quantile by quantile
# %%
shifts.shifts(report.comparison)
# %% [markdown]
# ## Every metric
# %%
report.section("metrics")
# %% [markdown]
# ## Counts
# %%
report.section("counts")
