# OMNeT++ {{ omnetpp.version }}: simulation kernel, Cmdenv and tools, following its Install Guide.

FROM {{ image_base }} AS build
LABEL labfleet.stage=omnetpp
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ENV DEBIAN_FRONTEND=noninteractive

{% include 'slim' +%}

RUN apt-get update && apt-get install --yes --no-install-recommends \
      bison ca-certificates flex g++ libxml2-dev make perl pkg-config python3 zlib1g-dev

COPY omnetpp.tgz /tmp/
WORKDIR /opt/omnetpp/{{ omnetpp.version }}
RUN echo '{{ omnetpp.sha256 }}  /tmp/omnetpp.tgz' | sha256sum --check \
 && tar --extract --file /tmp/omnetpp.tgz --strip-components=1 --no-same-owner \
      --exclude='omnetpp-*/ide' --exclude='omnetpp-*/samples' --exclude='omnetpp-*/tools' \
 && { [ "$(cat Version)" = 'omnetpp-{{ omnetpp.version }}' ] \
      || { echo "the archive holds $(cat Version), not omnetpp-{{ omnetpp.version }}" >&2; exit 1; }; }

RUN set +u; source setenv -q; set -u \
 && ./configure WITH_QTENV=no WITH_OSG=no WITH_OSGEARTH=no WITH_SCAVE_PYTHON_BINDINGS=no PREFER_CLANG=no PREFER_LLD=no \
 && for mode in {{ omnetpp.modes | default(['release', 'debug']) | join(' ') }}; do \
      make --jobs="$(nproc)" base MODE=$mode || exit 1; done \
 && rm -rf out doc images samples test ui releng .github config.log config.status \
 && find . -name '__pycache__' -prune -exec rm -rf {} + \
 && chmod -R a+rX,go-w .

FROM scratch
COPY --from=build /opt/omnetpp/{{ omnetpp.version }} /opt/omnetpp/{{ omnetpp.version }}
