# onnxac as an image: `docker build --tag onnxac .`, then
#
#     docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/models" onnxac check model.onnx
#
# The first stage has pip and its leftovers, the second only what they installed.

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
WORKDIR /source
RUN python -m venv /opt/onnxac
COPY pyproject.toml README.md LICENSE ./
COPY onnxac onnxac
RUN /opt/onnxac/bin/pip install --no-cache-dir '.[netron]' \
    && /opt/onnxac/bin/pip uninstall --yes pip

FROM python:${PYTHON}-slim
COPY --from=build /opt/onnxac /opt/onnxac
ENV PATH=/opt/onnxac/bin:$PATH
# A number, so that Kubernetes can tell that it is not root.
USER 10001:10001
WORKDIR /models
ENTRYPOINT ["onnxac"]
CMD ["--help"]
