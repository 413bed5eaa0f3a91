# The images, for where they are pushed from (docs/compose.md):
#   REGISTRY=registry.example.org/clima docker buildx bake --push
#   docker buildx bake --load forwarder
variable "REGISTRY" { default = "" }
variable "VERSION" { default = "0.1.0" }
variable "REVISION" { default = "unknown" }
variable "CREATED" { default = "1970-01-01T00:00:00Z" }
variable "PYTHON_IMAGE" { default = "python:3.13.9-slim-bookworm" }

function "named" {
  params = [name]
  result = ["${REGISTRY == "" ? "" : "${REGISTRY}/"}${name}:${VERSION}"]
}

group "default" {
  targets = ["agent", "forwarder"]
}

target "common" {
  context = "."
  dockerfile = "compose/Dockerfile"
  args = {
    CREATED = CREATED
    PYTHON_IMAGE = PYTHON_IMAGE
    REVISION = REVISION
    VERSION = VERSION
  }
}

target "agent" {
  inherits = ["common"]
  target = "agent"
  tags = named("clima-agent")
  platforms = ["linux/arm64", "linux/amd64"]
}

target "forwarder" {
  inherits = ["common"]
  target = "forwarder"
  tags = named("clima-forwarder")
  platforms = ["linux/amd64", "linux/arm64"]
}
