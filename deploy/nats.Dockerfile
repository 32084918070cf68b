# nats-server with a store that does not belong to root: a new volume takes its owner from the folder it covers.
#   docker build -f deploy/nats.Dockerfile -t backchannel-nats .

FROM nats:2.15-alpine@sha256:004796a89b7ad925027a01d69d175734403f5b3b98d49f4ed2c861e6f9aafec4
RUN mkdir -m 0700 /store && chown 10002:10002 /store
USER 10002:10002
