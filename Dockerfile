# The `manyhands` command on its own. It is process 1 of its container: it handles the signals itself and needs no shell.

FROM rust:1-bookworm AS build
WORKDIR /build
ENV CARGO_PROFILE_RELEASE_STRIP=symbols
# First the crates of others, with empty ones in place of ours: a layer that stays until a manifest changes. Done with
# layers alone, so that the builder before BuildKit does it too.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY bench/Cargo.toml bench/
COPY broker/Cargo.toml broker/
COPY cli/Cargo.toml cli/
COPY multiprocessing/Cargo.toml multiprocessing/
COPY producer/Cargo.toml producer/
COPY worker/Cargo.toml worker/
COPY tests/recorder/Cargo.toml tests/recorder/
COPY tests/support/Cargo.toml tests/support/
COPY xtask/Cargo.toml xtask/
# Every file that a manifest names must be there, though only those of the program are compiled.
RUN for crate in . bench broker cli multiprocessing producer worker tests/recorder tests/support xtask; do \
      mkdir -p $crate/src $crate/tests $crate/examples && touch $crate/src/lib.rs && \
      for name in $(sed -n '/^\[\[/{n;s/^name = "\(.*\)"/\1/p}' $crate/Cargo.toml); do \
        touch $crate/tests/$name.rs $crate/examples/$name.rs; \
      done; \
    done && \
    mkdir -p src/bin && \
    echo 'fn main() {}' | tee src/main.rs src/bin/worker.rs src/bin/producer.rs bench/src/main.rs >xtask/src/main.rs && \
    cargo build --release --locked --bin manyhands && \
    # None of them may stay beside ours: an example is a file or a folder, not both.
    find . -name target -prune -o -name '*.rs' -exec rm {} +
COPY . .
# Cargo goes by times, and ours may be older than what it made of the empty crates.
RUN find . -name target -prune -o -name '*.rs' -exec touch {} + && \
    cargo build --release --locked --bin manyhands

FROM debian:bookworm-slim
# /out belongs to the user who writes there, and so does a new volume that is mounted on it.
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin manyhands && \
    install --directory --owner manyhands /out
COPY --from=build /build/target/release/manyhands /usr/local/bin/
USER 10001
ENTRYPOINT ["/usr/local/bin/manyhands"]
CMD ["--help"]
