//go:build tools

// Package build names what `go build` has to fetch: the Pulumi CLI. It refuses `go install`
// because its module has replace directives; go.mod and go.sum here pin it and all it needs.
package build

import _ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
