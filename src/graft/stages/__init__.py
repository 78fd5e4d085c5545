"""The five stages, one `run` each, in the order the data flows:

prepare -> extract -> train -> finetune -> evaluate

A stage reads its parameters and files, writes its files, and knows neither DVC nor MLflow.
"""
