# Serves a model and its card: docker run -p 5001:5001 -v $PWD/models:/models graft
FROM python:3.11-slim
WORKDIR /graft
COPY requirements.lock pyproject.toml README.md LICENSE hatch_build.py ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY .dvcignore .gitignore dvc.yaml params.yaml ./
COPY data/digits/README.md data/digits/README.md
COPY data/keras/README.md data/keras/README.md
COPY data/relabel/README.md data/relabel/README.md
COPY presets presets
COPY results/published.yaml results/published.yaml
COPY src src
RUN pip install --no-cache-dir --no-deps --no-build-isolation .
EXPOSE 5001
ENTRYPOINT ["graft", "serve", "--host", "0.0.0.0", "--model", "/models"]
