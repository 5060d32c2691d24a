# docker build -f docker/cuda.Dockerfile -t priorsr:cuda .
# docker run --rm --gpus all -v "$PWD:/work" priorsr:cuda info
# The driver comes from the host (NVIDIA Container Toolkit); CUDA's libraries come with torch.
FROM python:3.12-slim

COPY . /src
RUN pip install --no-cache-dir "/src[sd,models]" && rm -rf /src

# weights of yours: -v MODELS:/models
ENV PRIORSR_MODELS=/models
ENV NVIDIA_VISIBLE_DEVICES=all
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN useradd --create-home user
USER user
WORKDIR /work
ENTRYPOINT ["priorsr"]
CMD ["--help"]
