# The image for ray-cluster.yaml. Build it in the project's root (the tests do not build it):
#   docker build -f deploy/kubernetes/ray.Dockerfile -t llm-twin-ray:0.1.0 .
FROM rayproject/ray:2.60.0-py311
COPY --chown=ray . /home/ray/llm-twin
RUN pip install --no-cache-dir -c /home/ray/llm-twin/deploy/constraints.txt "/home/ray/llm-twin[ray]"
