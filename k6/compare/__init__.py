"""Compares policies under load, on one running gateway that is never restarted.

command     the options of the command line
plan        what to run: scenarios and candidates, in shuffled order
run         one run, from its campaigns to its outcomes
load        the load of a run: k6 with load.js
audit       whether the gateway kept its promises
admin       the admin API and the metrics of the gateways
watch       samples lag, CPU time and memory during a run
database    lock waits and deadlocks of the ledger's database
requests    what the clients saw, as load.js logs it
figures     what one run measured
fairness    how far the outcomes depart from the order of arrival
spread      quantiles, medians, and when a difference counts
results     all runs, as the JSON file from which every report is written
answer      which candidate for which scenario, in words
simulate    what `sluice simulate` predicts
document    the report, as blocks; `order`, `versus` and `predictions` are parts of it
markdown    the report as Markdown
page        the report as one HTML file
"""
