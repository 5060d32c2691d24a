# docker build -f docker/cpu.Dockerfile -t priorsr .
# docker run --rm -v "$PWD:/work" priorsr upscale srcnn in.png out.png --scale 2
FROM python:3.12-slim

RUN pip install --no-cache-dir torch --index-url https://download.pytorch.org/whl/cpu
COPY . /src
RUN pip install --no-cache-dir /src && rm -rf /src

# weights of yours: -v MODELS:/models
ENV PRIORSR_MODELS=/models
RUN useradd --create-home user
USER user
WORKDIR /work
ENTRYPOINT ["priorsr"]
CMD ["--help"]
