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
FOLDER = "reports/capacity"
# %%
from analysis.capacity import charts, page
from analysis.page import beside

report = page.open_page(FOLDER)
capacity = report.capacity
# %%
report.section("summary")
# %% [markdown]
# ## Throughput by load
# %%
charts.curve(capacity)
# %%
report.section("points")
# %% [markdown]
# ## What breaks
# %%
report.section("search")
# %% [markdown]
# ## Scalability law
# %%
report.section("curve")
# %% [markdown]
# ## Headroom
# %%
report.section("headroom")
# %% [markdown]
# ## Response time and instances
# %%
beside(charts.response(capacity)._repr_html_(), charts.instances(capacity.sizing)._repr_html_())
# %% [markdown]
# ## Sizing
# %%
report.section("sizing")
