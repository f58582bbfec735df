package example;

import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import com.google.protobuf.util.Durations;
import com.google.protobuf.util.JsonFormat;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.ChannelCredentials;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import io.grpc.stub.MetadataUtils;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import pluton.storage.v1.StorageBackendGrpc;
import pluton.storage.v1.Storage.AboutRequest;
import pluton.storage.v1.Storage.DeleteRequest;
import pluton.storage.v1.Storage.DeleteTarget;
import pluton.storage.v1.Storage.GetInfoRequest;
import pluton.storage.v1.Storage.GetRequest;
import pluton.storage.v1.Storage.HashRequest;
import pluton.storage.v1.Storage.ListRequest;
import pluton.storage.v1.Storage.PutCommit;
import pluton.storage.v1.Storage.PutHeader;
import pluton.storage.v1.Storage.PutRequest;
import pluton.storage.v1.Storage.PutResponse;
import pluton.storage.v1.Storage.StatRequest;
import pluton.storage.v1.Storage.TestConnectionRequest;
import pluton.storage.v1.Types.ByteRange;
import pluton.storage.v1.Types.Checksum;
import pluton.storage.v1.Types.Chunk;
import pluton.storage.v1.Types.Entry;
import pluton.storage.v1.Types.HashAlgorithm;

/**
 * A client of pluton.storage.v1: tests the connection, stores a file, lists it, reads it with an
 * interruption, hashes and deletes it, and decodes an error.
 */
public final class Client {
  private static final int CHUNK = 256 << 10;

  private final ManagedChannel channel;
  private final Metadata metadata = new Metadata();
  private final long timeout;

  private Client(Options options) throws IOException {
    ChannelCredentials security = InsecureChannelCredentials.create();
    if (options.tls) {
      var tls = TlsChannelCredentials.newBuilder();
      if (options.ca != null) tls.trustManager(new File(options.ca));
      security = tls.build();
    }
    // A socket is named unix:/path, here as in other languages; epoll comes with the library.
    var builder = Grpc.newChannelBuilder(options.address, security);
    if (options.address.startsWith("unix:")) builder.overrideAuthority("localhost");
    channel = builder.defaultServiceConfig(serviceConfig()).enableRetry().build();
    if (options.token != null) {
      var key = Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
      metadata.put(key, "Bearer " + options.token);
    }
    timeout = options.timeout;
  }

  /** Which calls may be repeated by themselves, and how often. */
  private static Map<String, ?> serviceConfig() throws IOException {
    try (var in = Client.class.getResourceAsStream("/storage_grpc_service_config.json")) {
      var config = Struct.newBuilder();
      JsonFormat.parser().merge(new String(in.readAllBytes(), StandardCharsets.UTF_8), config);
      return plain(config.build());
    }
  }

  private static Map<String, ?> plain(Struct struct) {
    return struct.getFieldsMap().entrySet().stream()
        .collect(Collectors.toMap(Map.Entry::getKey, field -> plain(field.getValue())));
  }

  private static Object plain(Value value) {
    return switch (value.getKindCase()) {
      case STRUCT_VALUE -> plain(value.getStructValue());
      case LIST_VALUE -> value.getListValue().getValuesList().stream().map(Client::plain).toList();
      case NUMBER_VALUE -> value.getNumberValue();
      case BOOL_VALUE -> value.getBoolValue();
      default -> value.getStringValue();
    };
  }

  /** The stub, with what every call carries. */
  private StorageBackendGrpc.StorageBackendBlockingStub stub() {
    return StorageBackendGrpc.newBlockingStub(channel)
        .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata))
        .withDeadlineAfter(timeout, TimeUnit.MILLISECONDS);
  }

  private void testConnection() {
    var info = stub().getInfo(GetInfoRequest.getDefaultInstance());
    System.out.printf(
        "server: %s %s, remote %s%n",
        info.getServerName(), info.getServerVersion(), info.getRemotes(0).getName());
    var about = stub().about(AboutRequest.getDefaultInstance());
    System.out.printf("space: %d bytes free%n", about.getFreeBytes());
    var answer = stub().testConnection(TestConnectionRequest.getDefaultInstance());
    for (var check : answer.getChecksList()) {
      var state = check.getState().name().replace("CHECK_STATE_", "").toLowerCase();
      var why = check.getFailure().getMessage();
      System.out.println("check " + check.getName() + ": " + state + (why.isEmpty() ? "" : ": " + why));
    }
    if (!answer.getHealthy()) throw new IllegalStateException("the remote does not work");
  }

  /** Nothing is stored before the commit; the answer comes when the file is verified. */
  private Entry put(String path, byte[] content) {
    var stored = new CompletableFuture<PutResponse>();
    var observer =
        new ClientResponseObserver<PutRequest, PutResponse>() {
          private int offset = -1;
          private boolean committed;

          @Override
          public void beforeStart(ClientCallStreamObserver<PutRequest> call) {
            // Runs whenever there is room, so that the file is never in the memory of the library.
            call.setOnReadyHandler(
                () -> {
                  while (call.isReady() && !committed) call.onNext(next());
                  if (committed && offset <= content.length) {
                    offset = content.length + 1;
                    call.onCompleted();
                  }
                });
          }

          private PutRequest next() {
            if (offset < 0) {
              offset = 0;
              var header = PutHeader.newBuilder().setPath(path).setSize(content.length);
              return PutRequest.newBuilder().setHeader(header).build();
            }
            if (offset == content.length) {
              committed = true;
              var sum = Checksum.newBuilder().setAlgorithm(HashAlgorithm.HASH_ALGORITHM_SHA256);
              var commit = PutCommit.newBuilder().setSize(content.length);
              commit.addChecksums(sum.setHex(sha256(content)));
              return PutRequest.newBuilder().setCommit(commit).build();
            }
            var data = ByteString.copyFrom(content, offset, Math.min(CHUNK, content.length - offset));
            var chunk = Chunk.newBuilder().setOffset(offset).setData(data);
            long before = offset * 4L / content.length;
            offset += data.size();
            if (offset * 4L / content.length > before) {
              System.out.printf("put: %d %%%n", offset * 100L / content.length);
            }
            return PutRequest.newBuilder().setChunk(chunk).build();
          }

          @Override
          public void onNext(PutResponse answer) {
            stored.complete(answer);
          }

          @Override
          public void onError(Throwable error) {
            stored.completeExceptionally(error);
          }

          @Override
          public void onCompleted() {}
        };
    StorageBackendGrpc.newStub(channel)
        .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata))
        .withDeadlineAfter(timeout, TimeUnit.MILLISECONDS)
        .put(observer);
    try {
      var entry = stored.join().getEntry();
      System.out.printf("put: stored %s, %d bytes%n", entry.getPath(), entry.getSize());
      return entry;
    } catch (CompletionException error) {
      if (error.getCause() instanceof StatusRuntimeException cause) throw cause;
      throw error;
    }
  }

  private void list(String path) {
    stub()
        .list(ListRequest.newBuilder().setPath(path).build())
        .forEachRemaining(
            page -> {
              for (var failure : page.getFailuresList()) {
                System.err.println("list: " + failure.getPath() + ": " + failure.getFailure().getMessage());
              }
              for (var entry : page.getEntriesList()) {
                System.out.println("list: " + entry.getPath() + " " + entry.getSize());
              }
            });
  }

  private record Content(byte[] bytes, boolean complete) {}

  /**
   * The content from an offset on, and whether it is complete: only with its trailer is it. With
   * {@code stopAfter} it leaves after so many bytes, as if the network had failed.
   */
  private Content get(String path, int offset, String etag, int stopAfter) {
    // The etag: what is read later must be the same file.
    var request = GetRequest.newBuilder().setPath(path).setIfMatchEtag(etag);
    if (offset > 0) request.addRanges(ByteRange.newBuilder().setOffset(offset));
    var bytes = new ByteArrayOutputStream();
    var complete = false;
    // What is called in a context ends with it, also a stream that is not read to its end.
    var context = Context.current().withCancellation();
    var previous = context.attach();
    try {
      for (var messages = stub().get(request.build()); messages.hasNext() && bytes.size() < stopAfter; ) {
        var message = messages.next();
        if (message.hasChunk()) message.getChunk().getData().writeTo(bytes);
        complete |= message.hasTrailer();
      }
    } catch (IOException error) {
      throw new IllegalStateException(error);
    } finally {
      context.detach(previous);
      context.cancel(null);
    }
    return new Content(bytes.toByteArray(), complete);
  }

  private String hash(String path) {
    var request = HashRequest.newBuilder().setPath(path).setAlgorithm(HashAlgorithm.HASH_ALGORITHM_SHA256);
    return stub().hash(request.build()).getChecksum().getHex();
  }

  /** A batch has one result for each file, and each may have failed. */
  private void delete(String path) {
    var request = DeleteRequest.newBuilder().addTargets(DeleteTarget.newBuilder().setPath(path));
    for (var result : stub().delete(request.build()).getResultsList()) {
      if (result.hasFailure()) {
        var failure = result.getFailure();
        throw new IllegalStateException(failure.getReason() + ": " + failure.getMessage());
      }
      System.out.println("deleted: " + result.getPath());
    }
  }

  /** The text, the reason and the delay of an error: its details are messages of google.rpc. */
  private static String explain(StatusRuntimeException error) {
    var code = error.getStatus().getCode();
    var message = error.getStatus().getDescription();
    var text = code + ": " + message;
    var delay = "";
    var status = StatusProto.fromThrowable(error);
    try {
      for (var detail : status == null ? java.util.List.<com.google.protobuf.Any>of() : status.getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          text = code + " " + detail.unpack(ErrorInfo.class).getReason() + ": " + message;
        } else if (detail.is(RetryInfo.class)) {
          var millis = Durations.toMillis(detail.unpack(RetryInfo.class).getRetryDelay());
          delay = " (retry in %.1f s)".formatted(millis / 1000.0);
        }
      }
    } catch (InvalidProtocolBufferException cause) {
      delay = " (with details that cannot be read)";
    }
    return text + delay;
  }

  private static String sha256(byte[] content) {
    try {
      return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(content));
    } catch (NoSuchAlgorithmException error) {
      throw new IllegalStateException(error);
    }
  }

  private void run(int size) {
    var path = "examples/java/demo.bin";
    var content = new byte[size];
    new Random().nextBytes(content);
    testConnection();
    var entry = put(path, content);
    list("examples/java");

    var first = get(path, 0, "", size / 2);
    var offset = first.bytes.length;
    System.out.printf("get: interrupted after %d bytes, complete: %b%n", offset, first.complete);
    var rest = get(path, offset, entry.getEtag(), Integer.MAX_VALUE);
    var whole = Arrays.copyOf(first.bytes, offset + rest.bytes.length);
    System.arraycopy(rest.bytes, 0, whole, offset, rest.bytes.length);
    var same = Arrays.equals(whole, content);
    System.out.printf("get: resumed at %d, complete: %b, same: %b%n", offset, rest.complete, same);

    var checksum = hash(path);
    System.out.println("hash: sha256 " + checksum);
    delete(path);
    try {
      stub().stat(StatRequest.newBuilder().setPath(path).build());
    } catch (StatusRuntimeException error) {
      System.out.println("as expected: " + explain(error));
    }
    if (!same || !rest.complete || !checksum.equals(sha256(content))) {
      throw new IllegalStateException("what was read is not what was stored");
    }
    System.out.println("done");
  }

  /** The command line; what it leaves out stands in the environment. */
  private static final class Options {
    String address = System.getenv().getOrDefault("PLUTON_FICHIER_SERVER", "127.0.0.1:50051");
    String ca = System.getenv("PLUTON_FICHIER_CA");
    // Not as an argument: everybody on the machine can read those.
    String token = System.getenv("PLUTON_FICHIER_TOKEN");
    boolean tls;
    long timeout = 120_000;
    int size = 8 << 20;

    Options(String[] arguments) throws IOException {
      for (var rest = Arrays.asList(arguments).iterator(); rest.hasNext(); ) {
        var name = rest.next();
        if (name.equals("--tls")) {
          tls = true;
          continue;
        }
        if (!rest.hasNext()) throw new IllegalStateException(name + " needs a value");
        var value = rest.next();
        switch (name) {
          case "--address" -> address = value;
          case "--ca" -> ca = value;
          case "--token-file" -> token = Files.readString(Path.of(value)).strip();
          case "--timeout" -> timeout = (long) (Double.parseDouble(value) * 1000);
          case "--size" -> size = Integer.parseInt(value);
          default -> throw new IllegalStateException("unknown option " + name);
        }
      }
      tls |= ca != null;
    }
  }

  /** Runs everything, or tells what went wrong. */
  public static void main(String[] arguments) throws Exception {
    Client client = null;
    var problem = "";
    try {
      var options = new Options(arguments);
      client = new Client(options);
      client.run(options.size);
    } catch (StatusRuntimeException error) {
      problem = explain(error);
    } catch (IllegalStateException | IOException error) {
      problem = error.getMessage();
    }
    if (client != null) client.channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    if (!problem.isEmpty()) {
      System.err.println("error: " + problem);
      System.exit(1);
    }
  }
}
