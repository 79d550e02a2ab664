# docker build -t fdbench . && docker run --rm -v "$PWD:/work" fdbench attack pgd --help
FROM python:3.12-slim
COPY . /src
RUN pip install --no-cache-dir /src
WORKDIR /work
ENTRYPOINT ["fdbench"]
