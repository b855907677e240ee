// Builds the helm plugin that pushes charts, at exactly this version.
module tools

go 1.26

require github.com/chartmuseum/helm-push v0.10.4
